"""What each page shows: frozen records with raw numbers, and the protocol of who gives them."""
