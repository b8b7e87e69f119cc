"""What a target is asked to run: read, compared, applied, waited for, and put back."""
