cwlVersion: v1.0
class: CommandLineTool
doc: Counts the lines of a text; grep ends with 1 where there are none.
hints: {DockerRequirement: {dockerPull: busybox}}
baseCommand: [sh, -c, 'mkdir sub && cp "$0" sub/copy.txt && grep -c . "$0" > count.txt']
inputs: {text: {type: File, inputBinding: {position: 1}}}
outputs:
  count: {type: File, outputBinding: {glob: count.txt}}
  sub: {type: Directory, outputBinding: {glob: sub}}
