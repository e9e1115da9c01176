"""The workspace's server: one page, one port, one project, any number of browsers.

::

    browser --HTTP--> routes   tiles, tables, files: read in threads, never in the event loop
            --WS----> ws       edits, undo, jobs: messages.py is this half of the wire, design/0005-wire.md the agreement
                       |
                   Workspace   the only writer of the project: one thread, one operation log, one revision an edit
                       |
                      Jobs     a queue by urgency; one spawned process owns models, another one trains
                       |
                  Worker       computes from files it may only read, answers with files in a folder of the server's

What a worker computed lands through the same operation log as a stroke of the brush, on the image it was started for,
and can be undone. A worker that hangs is ended, and the document stays as it was.
"""
