"""One run of selfconn-capture: the session or the watch, the repro or the user's command, the recording, the words.

Nothing in here opens a packet socket or asks the kernel by itself: packets/ and kernel/ do.
"""
