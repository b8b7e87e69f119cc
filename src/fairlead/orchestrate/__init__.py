"""What moves traffic: rollouts, their verdicts, the controller."""
