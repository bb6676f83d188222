"""The rules of the engines that decide in Python, written once: what a verb does to a queue, whatever keeps the queue.

A rule sees its queue as `queue.Queue` and nothing of the store behind it. It changes records as they are in memory, and
tells the queue what it changed; whether that is all there is to it, or a row to be written at the end of the verb, is
the store's own affair. What is told in batches of statements, heaps or streams of rows stays with the store.
"""
