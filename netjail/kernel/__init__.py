"""Everything that touches ptrace, seccomp, Landlock or another process's memory."""
