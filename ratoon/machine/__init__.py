"""What this machine is: processor, child processes, installed packages, packaged wheels."""
