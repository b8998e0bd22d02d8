"""Runs one tool through Pulsar and TES, as Galaxy does: `job.py TES_URL PULSAR_IMAGE DIRECTORY COMMAND`.

The command is run in busybox; `{input}` and `{output}` in it are DIRECTORY's input.dat and output.dat. Prints the task's id,
then every status. An interrupt cancels the job.
"""

import sys
import time
from pathlib import Path

from pulsar.client.coexecution_manager import build_client_manager
from pulsar.client.staging.inputs import CLIENT_INPUT_PATH_TYPES, ClientInput, ClientInputs
from pulsar.client.staging.models import ClientJobDescription, ClientOutputs
from pulsar.client.staging.up import submit_job


def main(url: str, image: str, directory: str, command: str) -> None:
    files = {"input": f"{directory}/input.dat", "output": f"{directory}/output.dat"}
    work = Path(directory, "work")
    work.mkdir(exist_ok=True)
    # The URL needs its slash; remote_copy: Pulsar's own containers copy the files, from directories that they see.
    destination = {"tes_url": f"{url.rstrip('/')}/", "pulsar_container_image": image, "default_file_action": "remote_copy"}
    client = build_client_manager(tes_enabled=True).get_client(destination, Path(directory).name)
    job = ClientJobDescription(
        command_line=command.format(**files),
        client_inputs=ClientInputs([ClientInput(files["input"], CLIENT_INPUT_PATH_TYPES.INPUT_PATH)]),
        client_outputs=ClientOutputs(working_directory=str(work), output_files=[files["output"]]),
        working_directory=str(work),
        container="busybox",
    )
    client.external_id = submit_job(client, job)
    print(client.external_id, flush=True)
    try:
        watch(client)
    except KeyboardInterrupt:
        client.kill()
        watch(client)


def watch(client: object) -> None:
    time.sleep(3)  # Pulsar takes a task that is still QUEUED for a failed one
    while True:
        status = client.raw_check_complete()
        print(status["status"], flush=True)
        if status["complete"] == "true":
            return
        time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
