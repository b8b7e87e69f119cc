"""The only place for heavy or foreign libraries; loaded by entry-point name."""
