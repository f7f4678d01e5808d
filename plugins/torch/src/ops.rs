//! The ops, one file each: what the manifest says of it, its params, what is wrong with what a stage asks for, and what it
//! does. Knows their names alone.

use protocol::Ops;

mod evaluate;
mod find_lr;
mod qat;
pub(crate) mod specs;
mod train;

/// All of them.
pub(crate) fn all() -> Ops {
    Ops::default().and(train::Train).and(qat::Qat).and(evaluate::Evaluate).and(find_lr::FindLr)
}

#[cfg(test)]
mod tests;
