#include "store/loss_records.h"

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "archive/own_names.h"
#include "crypto/digest.h"
#include "store/memory_bytes.h"

namespace weir::store {

namespace {

constexpr std::uint64_t kLargestRecord = 64 * 1024;

/// nullopt: gone by now.
std::optional<std::vector<std::byte>> read(io::Shelf& archive, const std::string& name) {
  const auto file = archive.open_bytes(name);
  if (!file) return std::nullopt;
  std::vector<std::byte> content(static_cast<std::size_t>(std::min(file->size(), kLargestRecord)));
  content.resize(file->read_at(0, content));
  return content;
}

}  // namespace

std::size_t mirror_losses(io::Shelf& archive, const archive::Listing& listing, ObjectStore& store,
                          const Layout& layout, const Patience& patience) {
  std::vector<std::string> names;
  for (const auto& name : listing.hidden)
    if (archive::parse_loss_record(name) || archive::parse_loss_record(name, true))
      names.push_back(name);
  if (names.empty()) return 0;

  std::map<std::string, std::string> there;  // etags by key
  std::string after;
  for (bool more = true; more;) {
    const auto page =
        insist(patience, [&] { return store.list(layout.records_prefix(), after, kListingPage); });
    more = page.more && !page.objects.empty();
    for (const auto& object : page.objects) {
      after = object.key;
      there.emplace(object.key, object.etag);
    }
  }
  std::size_t put = 0;
  for (const auto& name : names) {
    const auto key = layout.key_of(name);
    const auto content = read(archive, name);
    if (!key || !content) continue;
    const auto md5 = crypto::digest_of(crypto::Digest::Kind::md5, *content);
    // With encryption by the store an ETag is no MD5: then it is put again, which does no harm.
    if (const auto found = there.find(*key); found != there.end() && found->second == md5) continue;
    MemoryBytes bytes(*content);
    insist(patience, [&] {
      store.put(*key, {.bytes = &bytes,
                       .sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, *content),
                       .md5 = md5});
      return true;
    });
    ++put;
  }
  return put;
}

}  // namespace weir::store
