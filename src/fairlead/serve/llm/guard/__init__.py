"""What must not pass: in questions and in answers, also while they are written."""
