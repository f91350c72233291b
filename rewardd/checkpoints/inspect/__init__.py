"""What a checkpoint is, and whether it is sound: `rewardd inspect`.

`tensors` looks at the weights one at a time, `texts` at tokenizer and position, `checkpoint` puts
the report together. Nothing is changed, nothing is unpickled.
"""
