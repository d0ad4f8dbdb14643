"""The part that runs inside the sandbox: standard library only, since no package is visible when it starts."""
