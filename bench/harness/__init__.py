"""What every claim's script needs: commands to time, graphs to run, peers to compare with, the page to write."""
