//! Sixteen 32-bit floats at a time, whatever the processor has. Every implementation does the same roundings in the same
//! order, so that results do not depend on it.

use std::sync::LazyLock;

/// Floats in a vector. Channels are padded with zeros to a multiple of it.
pub(crate) const LANES: usize = 16;

/// Vectors of sixteen floats.
///
/// # Safety
/// Every function wants a processor with the instructions of the implementation; `load` and `store` want sixteen floats
/// behind the pointer.
pub(crate) trait Simd: Copy {
    /// Sixteen floats.
    type V: Copy;
    /// Whether there are registers for a tile of 8 × 3 vectors; otherwise 6 × 1.
    const WIDE: bool;

    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn add(left: Self::V, right: Self::V) -> Self::V;
    unsafe fn sub(left: Self::V, right: Self::V) -> Self::V;
    unsafe fn mul(left: Self::V, right: Self::V) -> Self::V;
    /// `left · right + addend`, rounded once.
    unsafe fn mul_add(left: Self::V, right: Self::V, addend: Self::V) -> Self::V;
    /// The larger; what is not a number in `value` stays that.
    unsafe fn at_least(value: Self::V, limit: Self::V) -> Self::V;
    /// The smaller; what is not a number in `value` stays that.
    unsafe fn at_most(value: Self::V, limit: Self::V) -> Self::V;
    /// `value` where `low < tested < high`, else 0.
    unsafe fn where_between(tested: Self::V, low: Self::V, high: Self::V, value: Self::V) -> Self::V;
}

/// One register of 512 bits.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Simd for Avx512 {
    type V = core::arch::x86_64::__m512;
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { core::arch::x86_64::_mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        unsafe { core::arch::x86_64::_mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        unsafe { core::arch::x86_64::_mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn add(left: Self::V, right: Self::V) -> Self::V {
        unsafe { core::arch::x86_64::_mm512_add_ps(left, right) }
    }
    #[inline(always)]
    unsafe fn sub(left: Self::V, right: Self::V) -> Self::V {
        unsafe { core::arch::x86_64::_mm512_sub_ps(left, right) }
    }
    #[inline(always)]
    unsafe fn mul(left: Self::V, right: Self::V) -> Self::V {
        unsafe { core::arch::x86_64::_mm512_mul_ps(left, right) }
    }
    #[inline(always)]
    unsafe fn mul_add(left: Self::V, right: Self::V, addend: Self::V) -> Self::V {
        unsafe { core::arch::x86_64::_mm512_fmadd_ps(left, right, addend) }
    }
    #[inline(always)]
    unsafe fn at_least(value: Self::V, limit: Self::V) -> Self::V {
        unsafe { core::arch::x86_64::_mm512_max_ps(limit, value) }
    }
    #[inline(always)]
    unsafe fn at_most(value: Self::V, limit: Self::V) -> Self::V {
        unsafe { core::arch::x86_64::_mm512_min_ps(limit, value) }
    }
    #[inline(always)]
    unsafe fn where_between(tested: Self::V, low: Self::V, high: Self::V, value: Self::V) -> Self::V {
        use core::arch::x86_64::{_CMP_LT_OQ, _mm512_cmp_ps_mask, _mm512_maskz_mov_ps};
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(low, tested);
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(tested, high);
            _mm512_maskz_mov_ps(above & below, value)
        }
    }
}

/// Two registers of 256 bits.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    type V = [core::arch::x86_64::__m256; 2];
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        use core::arch::x86_64::_mm256_loadu_ps;
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        use core::arch::x86_64::_mm256_storeu_ps;
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        unsafe { [core::arch::x86_64::_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn add(left: Self::V, right: Self::V) -> Self::V {
        use core::arch::x86_64::_mm256_add_ps;
        unsafe { [_mm256_add_ps(left[0], right[0]), _mm256_add_ps(left[1], right[1])] }
    }
    #[inline(always)]
    unsafe fn sub(left: Self::V, right: Self::V) -> Self::V {
        use core::arch::x86_64::_mm256_sub_ps;
        unsafe { [_mm256_sub_ps(left[0], right[0]), _mm256_sub_ps(left[1], right[1])] }
    }
    #[inline(always)]
    unsafe fn mul(left: Self::V, right: Self::V) -> Self::V {
        use core::arch::x86_64::_mm256_mul_ps;
        unsafe { [_mm256_mul_ps(left[0], right[0]), _mm256_mul_ps(left[1], right[1])] }
    }
    #[inline(always)]
    unsafe fn mul_add(left: Self::V, right: Self::V, addend: Self::V) -> Self::V {
        use core::arch::x86_64::_mm256_fmadd_ps;
        unsafe {
            [_mm256_fmadd_ps(left[0], right[0], addend[0]), _mm256_fmadd_ps(left[1], right[1], addend[1])]
        }
    }
    #[inline(always)]
    unsafe fn at_least(value: Self::V, limit: Self::V) -> Self::V {
        use core::arch::x86_64::_mm256_max_ps;
        unsafe { [_mm256_max_ps(limit[0], value[0]), _mm256_max_ps(limit[1], value[1])] }
    }
    #[inline(always)]
    unsafe fn at_most(value: Self::V, limit: Self::V) -> Self::V {
        use core::arch::x86_64::_mm256_min_ps;
        unsafe { [_mm256_min_ps(limit[0], value[0]), _mm256_min_ps(limit[1], value[1])] }
    }
    #[inline(always)]
    unsafe fn where_between(tested: Self::V, low: Self::V, high: Self::V, value: Self::V) -> Self::V {
        use core::arch::x86_64::{_CMP_LT_OQ, _mm256_and_ps, _mm256_cmp_ps};
        unsafe {
            let above = _mm256_and_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(low[0], tested[0]), value[0]);
            let higher = _mm256_and_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(low[1], tested[1]), value[1]);
            [
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(tested[0], high[0]), above),
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(tested[1], high[1]), higher),
            ]
        }
    }
}

/// Whatever the compiler makes of it.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn add(left: Self::V, right: Self::V) -> Self::V {
        std::array::from_fn(|lane| left[lane] + right[lane])
    }
    #[inline(always)]
    unsafe fn sub(left: Self::V, right: Self::V) -> Self::V {
        std::array::from_fn(|lane| left[lane] - right[lane])
    }
    #[inline(always)]
    unsafe fn mul(left: Self::V, right: Self::V) -> Self::V {
        std::array::from_fn(|lane| left[lane] * right[lane])
    }
    #[inline(always)]
    unsafe fn mul_add(left: Self::V, right: Self::V, addend: Self::V) -> Self::V {
        std::array::from_fn(|lane| left[lane].mul_add(right[lane], addend[lane]))
    }
    #[inline(always)]
    unsafe fn at_least(value: Self::V, limit: Self::V) -> Self::V {
        std::array::from_fn(|lane| if limit[lane] > value[lane] { limit[lane] } else { value[lane] })
    }
    #[inline(always)]
    unsafe fn at_most(value: Self::V, limit: Self::V) -> Self::V {
        std::array::from_fn(|lane| if limit[lane] < value[lane] { limit[lane] } else { value[lane] })
    }
    #[inline(always)]
    unsafe fn where_between(tested: Self::V, low: Self::V, high: Self::V, value: Self::V) -> Self::V {
        std::array::from_fn(|lane| {
            if low[lane] < tested[lane] && tested[lane] < high[lane] { value[lane] } else { 0.0 }
        })
    }
}

/// Instructions that this processor has: nobody but [`Instructions::all`], which asks it, makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instructions(Set);

/// An implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

static BEST: LazyLock<Instructions> =
    LazyLock::new(|| Instructions::all().next().unwrap_or(Instructions(Set::Portable)));

impl Instructions {
    /// The fastest of this processor.
    #[inline]
    pub(crate) fn best() -> Self {
        *BEST
    }

    /// All of this processor, fastest first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let native = [
            std::arch::is_x86_feature_detected!("avx512f").then_some(Set::Avx512),
            (std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"))
                .then_some(Set::Avx2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let native: [Option<Set>; 0] = [];
        native.into_iter().flatten().chain([Set::Portable]).map(Self)
    }

    /// Which they are.
    #[inline]
    pub(crate) fn set(self) -> Set {
        self.0
    }
}

/// Defines `$name`, which runs `$generic::<S>` with the given instructions.
macro_rules! on_every_processor {
    ($(#[$doc:meta])* $vis:vis fn $name:ident = $generic:ident($($arg:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        $vis fn $name(instructions: $crate::simd::Instructions, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($arg: $type),*) {
                    $generic::<$crate::simd::Avx512>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) {
                    $generic::<$crate::simd::Avx2>($($arg),*);
                }
                // SAFETY: whoever has `Instructions` has a processor with them.
                match instructions.set() {
                    $crate::simd::Set::Avx512 => return unsafe { avx512($($arg),*) },
                    $crate::simd::Set::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::Set::Portable => {}
                }
            }
            let $crate::simd::Set::Portable = instructions.set() else { return };
            $generic::<$crate::simd::Portable>($($arg),*);
        }
    };
}
pub(crate) use on_every_processor;
