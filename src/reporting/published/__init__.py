"""Published results: read, checked against their own cells, and put beside a study's."""
