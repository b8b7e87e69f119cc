"""Protocol edges: bytes to calls and replies to bytes. They translate, nothing else."""
