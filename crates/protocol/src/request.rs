//! What an op asks of its request: the paths of inputs and outputs, and the question that a check would have been. Knows no op.

use std::path::{Path, PathBuf};

use crate::{CheckRequest, Failure, RunRequest};

impl RunRequest {
    /// The file or folder of input `name`.
    ///
    /// # Errors
    /// Where the stage has none of that name.
    pub fn input(&self, name: &str) -> Result<&Path, Failure> {
        let path = self.inputs.get(name).map(PathBuf::as_path);
        path.ok_or_else(|| Failure::new(format!("`{}` was given no input `{name}`", self.op)))
    }

    /// Where output `name` is to be written.
    ///
    /// # Errors
    /// Where the stage has none of that name.
    pub fn output(&self, name: &str) -> Result<&Path, Failure> {
        let path = self.outputs.get(name).map(PathBuf::as_path);
        path.ok_or_else(|| Failure::new(format!("`{}` was given no place for output `{name}`", self.op)))
    }

    /// The check that the same stage, with all its inputs there, asks for.
    #[must_use]
    pub fn as_check(&self) -> CheckRequest {
        CheckRequest {
            op: self.op.clone(),
            params: self.params.clone(),
            inputs: self.inputs.keys().cloned().collect(),
            present: self.inputs.clone(),
            threads: self.threads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let request: RunRequest = serde_json::from_value(serde_json::json!({
            "op": "double", "params": {}, "inputs": {"n": "/n"}, "outputs": {"m": "/m"}, "threads": 2,
            "resume_dir": "/r", "companions": {},
        }))
        .unwrap();
        assert_eq!(request.input("n").unwrap(), Path::new("/n"));
        assert_eq!(request.output("m").unwrap(), Path::new("/m"));
        assert_eq!(request.input("m"), Err(Failure::new("`double` was given no input `m`")));
        assert_eq!(request.output("n"), Err(Failure::new("`double` was given no place for output `n`")));
        let check = request.as_check();
        assert!(check.inputs.contains("n") && check.present == request.inputs && check.threads == 2);
    }
}
