"""What several stages plan with: how long things take, how many there must be."""
