"""A recorded run as a value: the trace, what another draft length would have done, break-even. No model needed."""
