//! Functions compiled for the widest vectors that the processor at hand has. What they compute is the same with each.

/// Defines `$name`, which is `$body`, a function that is always inlined, for AVX-512, AVX2 or neither.
macro_rules! for_widest_vectors {
    ($(#[$about:meta])* fn $name:ident = $body:ident($($argument:ident: $type:ty),*) $(-> $outcome:ty)?) => {
        $(#[$about])*
        fn $name($($argument: $type),*) $(-> $outcome)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($argument: $type),*) $(-> $outcome)? {
                    $body($($argument),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) $(-> $outcome)? {
                    $body($($argument),*)
                }
                let has_avx512 = std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl");
                if has_avx512 {
                    // SAFETY: this processor has all of it.
                    return unsafe { avx512($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body($($argument),*)
        }
    };
}

pub(crate) use for_widest_vectors;
