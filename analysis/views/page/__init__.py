"""What the HTML page is made of: its template, style and script, and the drawings in it.

Nothing in here fetches anything: the page is complete in one file.
"""
