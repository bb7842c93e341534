//! Step 7: what a deployment needs beside the tarball.
