"""The composition root: settings and plugins become running parts. Nothing else knows which parts there are."""
