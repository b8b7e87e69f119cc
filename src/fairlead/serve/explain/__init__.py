"""``:explain``: what each column adds to an answer."""
