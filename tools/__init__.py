"""Small programs that keep the repository in order; nothing in src imports them."""
