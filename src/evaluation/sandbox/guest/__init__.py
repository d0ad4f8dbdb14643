"""What runs inside the sandbox. Standard library only; everything here is started by a bare `python -I -S`."""
