"""The interactive part of a report: its data, its charts and its scripts, all of them inside the page."""
