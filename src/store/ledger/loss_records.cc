#include "store/ledger/loss_records.h"

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/own_names.h"
#include "store/digests.h"
#include "store/listing.h"
#include "store/memory_bytes.h"

namespace weir::store {

namespace {

constexpr std::uint64_t kLargestRecord = 64 * 1024;
constexpr std::string_view kPlaceholder =
    "The archive has this file. It could not be read when it was to be uploaded.\n";

std::vector<std::byte> placeholder() {
  const auto bytes = std::as_bytes(std::span(kPlaceholder));
  return {bytes.begin(), bytes.end()};
}

/// Returns nullopt if it was removed meanwhile.
std::optional<std::vector<std::byte>> read(io::Shelf& archive, const std::string& name) {
  const auto file = archive.open_bytes(name);
  if (!file) return std::nullopt;
  std::vector<std::byte> content(static_cast<std::size_t>(std::min(file->size(), kLargestRecord)));
  content.resize(file->read_at(0, content));
  return content;
}

}  // namespace

LossRecords read_loss_records(io::Shelf& archive, const archive::Listing& listing, Log& log,
                              const LossRecords& known) {
  LossRecords records;
  for (const auto& name : listing.hidden) {
    if (!archive::parse_loss_record(name) && !archive::parse_loss_record(name, true)) continue;
    try {
      if (auto content = read(archive, name)) records.emplace(name, std::move(*content));
    } catch (const Error& error) {
      // Uploads wait for the records, and must not wait for a disk.
      const auto found = known.find(name);
      if (found == known.end())
        log.warning(
            "the record of a loss cannot be read: only its name is uploaded until it can be "
            "read: {}",
            error.what());
      records.emplace(name, found != known.end() ? found->second : placeholder());
    }
  }
  return records;
}

std::size_t mirror_losses(const LossRecords& records, ObjectStore& store, const Layout& layout,
                          const Patience& patience) {
  if (records.empty()) return 0;
  std::map<std::string, std::string> there;  // MD5s by key
  for_each_object(store, layout.records_prefix(), patience,
                  [&](const ObjectEntry& object) { there.emplace(object.key, object.md5); });
  std::size_t put = 0;
  for (const auto& [name, record] : records) {
    const auto key = layout.key_of(name);
    if (!key) continue;
    MemoryBytes bytes(record);
    const auto content = content_of(bytes);
    // The MD5 is unknown if the store encrypts: then it is put again, which does no harm.
    if (const auto found = there.find(*key); found != there.end() && found->second == content.md5)
      continue;
    if (record == placeholder() && (there.contains(*key) || archive::parse_loss_record(name, true)))
      continue;
    const bool may_stay = there.contains(*key) && store.traits().rights_may_forbid_replacing;
    const bool is_put = insist(patience, [&] {
      try {
        store.put(*key, content);
        return true;
      } catch (const StoreError& error) {
        if (!may_stay || error.trouble() != Trouble::refused) throw;
        return false;
      }
    });
    if (is_put) ++put;
  }
  return put;
}

}  // namespace weir::store
