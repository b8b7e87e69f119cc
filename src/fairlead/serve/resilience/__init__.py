"""What keeps an endpoint answering when what it stands on is slow, full or down."""
