"""The studio: a page on which crystals vibrate and speckle is looked at, served to a browser.

    page (static/) → HTTP (pages) → guard → a worker process → debye's public functions

The server keeps nothing of what it is asked: every request brings its structure along, and what a
worker keeps it can compute again. So users cannot mix, and a worker may be killed at any time.
"""
