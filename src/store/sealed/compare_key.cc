#include "store/sealed/compare_key.h"

#include <array>
#include <span>
#include <string>

#include "archive/home.h"
#include "base/error.h"
#include "crypto/digest.h"
#include "crypto/primitives.h"
#include "crypto/sealing.h"

namespace weir::store {

namespace {

constexpr std::size_t kSize = 32;

/// nullopt: there is none.
std::optional<std::string> read(io::Directory& archive) {
  const auto file = archive.open_bytes(std::string(kCompareKeyName));
  if (!file) return std::nullopt;
  std::string text(2 * kSize + 1, '\0');
  text.resize(file->read_at(0, std::as_writable_bytes(std::span(text.data(), text.size()))));
  return text;
}

std::vector<std::byte> parse(io::Directory& archive, const std::optional<std::string>& text) {
  if (!text || text->size() != 2 * kSize + 1 ||
      text->find_first_not_of("0123456789abcdef") != 2 * kSize)
    throw Error(ErrorKind::damage, "the key that compares encrypted objects cannot be read")
        .with("path", archive.path_of(std::string(kCompareKeyName)))
        .hint(
            "Restore it from a copy of the directory. Without a copy, remove the file: a new key "
            "is created, and objects that were uploaded before are no longer compared.");
  const auto bytes = std::as_bytes(std::span(*text)).first(2 * kSize);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::vector<std::byte> compare_key(io::Directory& archive) {
  auto text = read(archive);
  if (!text) {
    std::array<std::byte, kSize> key{};
    crypto::random_bytes(key);
    archive::DirectoryHome home(archive);
    set_file_mode(archive, 0600);
    archive::publish_text(home, {.name = std::string(kCompareKeyName)}, crypto::to_hex(key) + "\n");
    text = read(archive);
  }
  return parse(archive, text);
}

std::optional<std::vector<std::byte>> former_compare_key(io::Directory& archive) {
  const auto text = read(archive);
  return text ? std::optional(parse(archive, text)) : std::nullopt;
}

std::vector<std::byte> compare_key_of(const SignifyKey& key) {
  const auto derived = crypto::hkdf_sha256(key.seed(), {}, "pgweir: compares encrypted objects");
  return {derived.begin(), derived.end()};
}

}  // namespace weir::store
