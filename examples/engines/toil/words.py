"""Two Toil jobs, each a TES task: the second reads the file that the first left in the job store."""

from toil.common import Toil
from toil.job import Job

NEEDS = {"cores": 1, "memory": "100M", "disk": "10M"}


def upper(job: Job, text: str) -> object:
    with job.fileStore.writeGlobalFileStream() as (stream, file_id):
        stream.write(text.upper().encode())
    return job.addFollowOnJobFn(count, file_id, **NEEDS).rv()


def count(job: Job, file_id: str) -> str:
    with job.fileStore.readGlobalFileStream(file_id) as stream:
        words = stream.read().decode().split()
    if not words:
        raise ValueError("no words")
    return f"{len(words)}: {' '.join(words)}"


if __name__ == "__main__":
    parser = Job.Runner.getDefaultArgumentParser()
    parser.add_argument("text")
    options = parser.parse_args()
    with Toil(options) as toil:
        print(toil.start(Job.wrapJobFn(upper, options.text, **NEEDS)))
