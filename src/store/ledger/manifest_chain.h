#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/layout.h"
#include "store/ledger/manifest_line.h"
#include "store/ledger/signify.h"

namespace weir::store {

// A manifest is a chain of lines, each with the hash of the one before it: the newest line covers
// all others, and no earlier line can be changed unnoticed. Each archiver writes its own chain. (A
// shared chain would make archivers wait for each other at every line, and needs a conditional
// write that not every store supports. The state of the bucket follows from all chains together.) A
// chain is stored in objects of 256 lines; the newest is rewritten as it grows. If there is a key,
// each object starts with its signature, as signify(1) embeds one. Pure.

inline constexpr std::size_t kManifestLines = 256;
/// Lines have a few hundred bytes at most.
inline constexpr std::uint64_t kLargestManifest = std::uint64_t{1} << 20;

/// The chain that prunes write: where the archive starts, and where the other chains start. Those
/// with a key have one for each key, with its number in the name.
inline constexpr std::string_view kPruneChain = "prune";
[[nodiscard]] bool is_prune_chain(std::string_view id);
/// The chain of all rewrap runs, on any host; with a key, of those with that key.
inline constexpr std::string_view kRewrapChain = "rewrap";
[[nodiscard]] bool is_rewrap_chain(std::string_view id);

/// Prefix of the objects: "…/manifest/CHAIN/00000007". In key order they precede all WAL, so
/// listings of WAL do not include them.
[[nodiscard]] std::string manifest_prefix(const Layout& layout);
[[nodiscard]] std::string manifest_key(const Layout& layout, std::string_view chain,
                                       std::uint64_t number);
struct ManifestPlace {
  std::string chain;
  std::uint64_t number = 0;
};
/// Returns nullopt for other keys.
[[nodiscard]] std::optional<ManifestPlace> parse_manifest_key(const Layout& layout,
                                                              std::string_view key);

/// An object's text, without a signature.
[[nodiscard]] std::string manifest_text(const ManifestPlace& place,
                                        std::span<const std::string> lines);

/// Where a chain starts after a prune has removed its older objects: at this object, after the line
/// with this hash. A value.
struct ManifestCut {
  std::uint64_t number = 0;
  std::string after{};
  bool operator==(const ManifestCut&) const = default;
};

/// A chain as read. `broken` says why it is invalid.
struct ManifestChain {
  std::string id{};
  std::optional<ManifestCut> cut{};
  std::vector<ManifestLine> lines{};
  std::vector<std::string> hashes{};  ///< of each line
  std::vector<std::string> broken{};
  /// The key that signed the newest object, which covers all before it that it is linked to.
  /// nullopt: not signed.
  std::optional<SignifyNumber> signed_by{};
  bool proved = false;  ///< the signature is by one of the given keys
  /// The first line of those that the newest object is linked to: all, unless the chain is broken.
  std::size_t linked_from = 0;

  [[nodiscard]] std::string head() const { return hashes.empty() ? beginning() : hashes.back(); }
  /// The hash that its first line gives for the line before.
  [[nodiscard]] std::string beginning() const { return cut ? cut->after : genesis_of(id); }
  /// The lines that count. If keys are given, those that the signature of the newest object covers.
  [[nodiscard]] std::span<const ManifestLine> believed(bool keys_given) const {
    if (!keys_given) return lines;
    return proved ? std::span(lines).subspan(linked_from) : std::span<const ManifestLine>();
  }
  /// Includes lines that a prune has removed.
  [[nodiscard]] std::uint64_t length() const {
    return (cut ? cut->number * kManifestLines : 0) + lines.size();
  }
};

/// Where the chain with this name starts, according to the prunes' chains; nullopt: at its first
/// object.
[[nodiscard]] std::optional<ManifestCut> cut_of(std::span<const ManifestChain> prunes,
                                                std::string_view id, bool keys_given);

/// Assembles a chain, object by object.
class ManifestChainReader {
 public:
  ManifestChainReader(std::string id, std::span<const SignifyPublic> keys,
                      std::optional<ManifestCut> cut = {})
      : keys_(keys), next_(cut ? cut->number : 0) {
    chain_.id = std::move(id);
    chain_.cut = std::move(cut);
  }

  /// Takes the next object, by number; `name` is for messages. Objects before the chain's start are
  /// skipped: a prune was killed, or not allowed to remove them.
  void take(std::uint64_t number, std::string_view content, const std::string& name);
  [[nodiscard]] ManifestChain finish() { return std::move(chain_); }

 private:
  void take_line(std::string_view text, const std::string& where);
  void breaks(std::string what);

  std::span<const SignifyPublic> keys_;
  ManifestChain chain_;
  std::uint64_t next_ = 0;
  bool full_ = true;  ///< the object before
};

}  // namespace weir::store
