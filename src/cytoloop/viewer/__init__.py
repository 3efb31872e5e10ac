"""The napari plugin: panels to choose data, curate, train, predict and compare.

`session` has no window and no Qt: it reads and writes the files that the verbs read and write.
`panels` are the widgets. Everything that reads a file or computes runs in a thread.
"""
