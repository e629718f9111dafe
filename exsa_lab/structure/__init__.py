"""What a request asks of its text beside the sampling chain: tokens more or less likely, and a form to fill."""
