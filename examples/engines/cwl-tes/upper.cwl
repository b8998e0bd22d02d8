cwlVersion: v1.0
class: CommandLineTool
hints: {DockerRequirement: {dockerPull: busybox}}
baseCommand: [tr, a-z, A-Z]
inputs: {text: File}
stdin: $(inputs.text.path)
stdout: upper.txt
outputs: {upper: stdout}
