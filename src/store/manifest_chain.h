#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/layout.h"
#include "store/manifest_line.h"
#include "store/signify.h"

namespace weir::store {

// A manifest is a chain of lines, each with the hash of the one before it: who has seen the newest
// one has seen all, and nothing before it can be changed without a trace. Each archiver writes a
// chain of its own. (One for all would make an archiver wait for the other at every line, and needs
// a condition that not every store heeds. What is true of the bucket is what the chains tell
// together.) A chain lies in objects of 256 lines, of which the newest is written anew as it grows.
// Where there is a key, each has its signature in front, as signify(1) embeds one. Pure.

inline constexpr std::size_t kManifestLines = 256;
/// No line is longer than some hundred bytes.
inline constexpr std::uint64_t kLargestManifest = std::uint64_t{1} << 20;

/// The chain that prunes write: where the archive begins, and where the other chains do.
inline constexpr std::string_view kPruneChain = "prune";

/// Where the objects lie: "…/manifest/CHAIN/00000007". In the order of keys they come before all
/// WAL: who asks for WAL does not meet them.
[[nodiscard]] std::string manifest_prefix(const Layout& layout);
[[nodiscard]] std::string manifest_key(const Layout& layout, std::string_view chain,
                                       std::uint64_t number);
struct ManifestPlace {
  std::string chain;
  std::uint64_t number = 0;
};
/// nullopt: no such key.
[[nodiscard]] std::optional<ManifestPlace> parse_manifest_key(const Layout& layout,
                                                              std::string_view key);

/// An object's text, without a signature.
[[nodiscard]] std::string manifest_text(const ManifestPlace& place,
                                        std::span<const std::string> lines);

/// Where a chain begins, since a prune has removed what lay before: at this object, behind the line
/// with this hash. A value.
struct ManifestCut {
  std::uint64_t number = 0;
  std::string after{};
  bool operator==(const ManifestCut&) const = default;
};

/// A chain as somebody has read it. `broken` says what is wrong with it.
struct ManifestChain {
  std::string id{};
  std::optional<ManifestCut> cut{};
  std::vector<ManifestLine> lines{};
  std::vector<std::string> hashes{};  ///< of each line
  std::vector<std::string> broken{};
  /// Whose signature the newest object has; it stands for all before it. nullopt: none.
  std::optional<SignifyNumber> signed_by{};
  bool proved = false;  ///< that signature is by one of the keys that were given

  [[nodiscard]] std::string head() const { return hashes.empty() ? beginning() : hashes.back(); }
  /// The hash that its first line names as that of the line before.
  [[nodiscard]] std::string beginning() const { return cut ? cut->after : genesis_of(id); }
  /// With those that a prune has removed.
  [[nodiscard]] std::uint64_t length() const {
    return (cut ? cut->number * kManifestLines : 0) + lines.size();
  }
};

/// Where the chain of this name begins, as the prunes' chain tells; nullopt: at its first object.
[[nodiscard]] std::optional<ManifestCut> cut_of(const ManifestChain& prunes, std::string_view id);

/// Puts a chain together, object by object.
class ManifestChainReader {
 public:
  ManifestChainReader(std::string id, std::span<const SignifyPublic> keys,
                      std::optional<ManifestCut> cut = {})
      : keys_(keys), next_(cut ? cut->number : 0) {
    chain_.id = std::move(id);
    chain_.cut = std::move(cut);
  }

  /// The next object, by number, under this name for messages. What lies before the place where
  /// the chain begins is passed over: a prune was killed, or was not let.
  void take(std::uint64_t number, std::string_view content, const std::string& name);
  [[nodiscard]] ManifestChain finish() { return std::move(chain_); }

 private:
  void take_line(std::string_view text, const std::string& where);

  std::span<const SignifyPublic> keys_;
  ManifestChain chain_;
  std::uint64_t next_ = 0;
  bool full_ = true;  ///< the object before
};

}  // namespace weir::store
