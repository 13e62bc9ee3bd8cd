//! The `vlmgate` command.

fn main() {}
