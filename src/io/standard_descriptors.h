#pragma once

namespace weir::io {

/// A program may be started without some of the descriptors 0, 1 and 2 ("2>&-"). The next files
/// would get these numbers, and messages would be written into a segment. Opens /dev/null instead
/// for each closed descriptor, so that reading and writing still fails with EBADF. To be called
/// before anything is opened. Throws Error{io}.
void occupy_standard_descriptors();

}  // namespace weir::io
