"""Threads of this process for many small files at once, which wait for disks and servers.

Several fsyncs at once share one commit of a disk's journal, and decoding leaves Python.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

# none is there before it is needed; to start them anew costs more than most files
THREADS = ThreadPoolExecutor(8, thread_name_prefix="files")
