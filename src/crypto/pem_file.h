#pragma once

#include <string>

namespace weir::crypto {

/// A file that has been read, and its name for messages.
struct PemFile {
  std::string path;
  std::string content;
};

}  // namespace weir::crypto
