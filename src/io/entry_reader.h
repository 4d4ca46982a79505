#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "io/names_watch.h"
#include "io/shelf.h"

namespace weir::io {

// A directory may have a million entries. Its list() and names() keep all of them at once; these
// functions pass on each as it is read.

using TakeEntry = std::function<void(const DirectoryEntry&)>;
using TakeName = std::function<void(std::string_view name, DirectoryEntry::Type type)>;

/// A feature of a shelf.
class EntryReader {
 public:
  virtual ~EntryReader() = default;
  virtual void each_entry(const TakeEntry& take) = 0;
  virtual void each_name(const TakeName& take) = 0;
  /// As NamesWatch::begin(), for the open directory, even if its path refers to another one by now.
  [[nodiscard]] virtual std::unique_ptr<NamesWatch> watch_names() = 0;
};

/// As Shelf::list() and names(), one by one, if the shelf supports it; otherwise from its list.
void each_entry(Shelf& shelf, const TakeEntry& take);
void each_name(Shelf& shelf, const TakeName& take);
/// Returns nullptr if changes are not reported.
[[nodiscard]] std::unique_ptr<NamesWatch> watch_names(Shelf& shelf);

}  // namespace weir::io
