#include "archive/union_shelf.h"

#include <set>
#include <utility>

namespace weir::archive {

namespace {

/// Files move from the first directory to the second: if they are listed in this order, a file
/// being moved is in at least one of the lists.
template <typename Entry>
std::vector<Entry> joined(std::vector<Entry> others, std::vector<Entry> first) {
  std::set<std::string> names;
  for (const auto& entry : first) names.insert(entry.name);
  for (auto& entry : others)
    if (!names.contains(entry.name)) first.push_back(std::move(entry));
  return first;
}

}  // namespace

UnionShelf::UnionShelf(io::Shelf& first, io::Shelf& other)
    : first_(first), other_(other), path_(first.path() + " + " + other.path()) {}

std::vector<io::DirectoryEntry> UnionShelf::list() {
  auto first = first_.list();
  return joined(other_.list(), std::move(first));
}

std::vector<io::DirectoryName> UnionShelf::names() {
  auto first = first_.names();
  return joined(other_.names(), std::move(first));
}

std::optional<io::DirectoryEntry> UnionShelf::find(const std::string& name) {
  if (auto entry = first_.find(name)) return entry;
  return other_.find(name);
}

std::unique_ptr<io::Bytes> UnionShelf::open_bytes(const std::string& name) {
  if (auto bytes = first_.open_bytes(name)) return bytes;
  return other_.open_bytes(name);
}

}  // namespace weir::archive
