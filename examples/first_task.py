"""A first task with py-tes: post it, wait for its end, show what it printed. Usage: python first_task.py [BASE_URL]"""

import sys

import tes

client = tes.HTTPClient(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")

task = tes.Task(
    name="first task",
    inputs=[tes.Input(path="/tes-wd/shared/names.txt", content="Ada\nGrace\nBarbara\n")],
    executors=[tes.Executor(image="busybox", command=["sort", "/tes-wd/shared/names.txt"])],
)
task_id = client.create_task(task)
client.wait(task_id, timeout=60)
task = client.get_task(task_id, view="FULL")

print(task.state)
print(task.logs[0].logs[0].stdout)
