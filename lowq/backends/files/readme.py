"""What the README in a directory says to the person who finds it."""

TEXT = """\
This directory is a queue of lowq (https://pypi.org/project/lowq): work that waits to be done, one file a task.
The command `lowq list files://{root}` shows the same, and `lowq --help` says what else can be done.

ready-RANK-NUMBER-DIGEST-ATTEMPTS.json             may be claimed now, the first of the listing first
scheduled-UNTIL-RANK-NUMBER-DIGEST-ATTEMPTS.json   waits for the instant UNTIL (UTC)
leased-UNTIL-RANK-...-ATTEMPTS-TOKEN.json          a worker has it, until UNTIL at most
dead-RANK-NUMBER-DIGEST-ATTEMPTS.json              given up; the file says why; a redrive lets it wait again

RANK is 2147483647 less the priority, so that higher priorities come first; NUMBER is the task's id and its place
among equals; DIGEST is the start of what tells equal works apart; ATTEMPTS is how often it was claimed. The files
are JSON. While no worker and no other program of lowq runs, a task file may be read, copied and deleted. Rename or
change none.

new/      Any program may add a task: write a file of JSON under a name that does not end with .json, flush it to the
          disk, then rename it to end with .json, in here:
              {{"work": {{"send": "mail"}}, "key": null, "priority": 0, "not_before": null, "headers": {{}}}}
          Only "work" is needed. The next call of any client takes it in, in the order of the names. A work that the
          queue refuses as a duplicate is removed. What is wrong goes to bad/.
bad/      What was wrong, as it was found, each with a .why.txt beside it. Nothing in here is ever deleted by lowq.
          A file that was mended may be renamed into new/. A .stays.why.txt is of a file that may not be moved here.
queues/   The queues of other names, each a directory like this one.
.lowq/    Locks and notes of lowq. Leave it alone while any client runs.

All other files are none of lowq's business, and are left alone.
"""
