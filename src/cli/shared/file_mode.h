#pragma once

#include "archive/listing.h"
#include "io/directory.h"

namespace weir::cli {

/// Files created in the directory from now on have the mode of files created by the receiver, which
/// asks the server (data_directory_mode): readable by the group if the newest segment is.
void take_file_mode(io::Directory& archive, const archive::Listing& listing);

}  // namespace weir::cli
