#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "io/shelf.h"
#include "restore/options.h"

namespace weir::restore {

/// The archives of one command, by their paths. One is opened at once, and what it does is waited
/// for. Several are opened when they are first asked for something (so they never throw here), and
/// none of them holds up the others for longer than `patience`: io::BoundedShelf. One thread.
class OpenArchives {
 public:
  OpenArchives(const std::vector<std::string>& paths, std::chrono::milliseconds patience);

  [[nodiscard]] Shelves shelves() const { return shelves_; }

 private:
  std::vector<std::unique_ptr<io::Shelf>> owned_;
  std::vector<io::Shelf*> shelves_;
};

}  // namespace weir::restore
