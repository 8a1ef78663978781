"""Many runs from one command: jobs in processes of their own, and what comes of them."""
