cwlVersion: v1.0
class: Workflow
inputs: {text: File}
steps:
  shouting: {run: upper.cwl, in: {text: text}, out: [upper]}
  counting: {run: count.cwl, in: {text: shouting/upper}, out: [count, sub]}
outputs:
  count: {type: File, outputSource: counting/count}
  sub: {type: Directory, outputSource: counting/sub}
