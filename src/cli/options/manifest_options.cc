#include "cli/options/manifest_options.h"

#include <fmt/format.h>

#include "archive/home.h"
#include "base/error.h"
#include "base/text.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "store/http/credentials.h"
#include "store/ledger/manifest_line.h"

namespace weir::cli {

namespace {

constexpr std::uint64_t kLargestKey = 64 * 1024;
constexpr unsigned kPrivate = 0600;
constexpr unsigned kPublic = 0644;

/// Durably, if there is no file of that name.
void write_new(io::Directory& directory, const std::string& name, unsigned mode,
               const std::string& text) {
  archive::DirectoryHome home(directory);
  io::set_file_mode(directory, mode);
  archive::publish_text(home, {.name = name}, text);
}

}  // namespace

std::string manifest_head_value(const std::string& text) {
  if (!store::is_manifest_hash(text))
    throw Error(ErrorKind::usage, "").hint("It is the hash of a line: 64 digits, 0 to f.");
  return text;
}

std::shared_ptr<const store::SignifyKey> manifest_key_of(const Arguments& arguments) {
  const auto path = arguments.get(kManifestKey);
  if (!path) return nullptr;
  const auto access = io::look_at_access(*path);
  if (access && !access->is_secret())
    throw Error(ErrorKind::usage, "others have access to the key that signs the manifest")
        .with("file", *path)
        .with("mode", fmt::format("{:04o}", access->mode))
        .hint(fmt::format("Run chmod 600 {}; a file owned by root can have mode 0640.",
                          shell_word(*path)));
  const store::Secret text(io::read_small_file(*path, kLargestKey));
  return std::make_shared<const store::SignifyKey>(store::SignifyKey::parse(text.reveal(), *path));
}

std::vector<store::SignifyPublic> manifest_public_keys_of(const Arguments& arguments) {
  std::vector<store::SignifyPublic> keys;
  for (const auto& path : arguments.texts(kManifestPublicKey)) {
    const auto key = store::SignifyPublic::parse(io::read_small_file(path, kLargestKey));
    if (!key)
      throw Error(ErrorKind::usage, "the file is not a manifest public key")
          .with("file", path)
          .hint("\"pgweir store keygen FILE\" stores the public key as FILE.pub.");
    keys.push_back(*key);
  }
  return keys;
}

void make_manifest_key(const std::string& file) {
  const auto slash = file.rfind('/');
  const auto place = slash == std::string::npos ? "." : slash == 0 ? "/" : file.substr(0, slash);
  const auto name = slash == std::string::npos ? file : file.substr(slash + 1);
  const auto directory = io::open_existing_directory(place);
  if (name.empty() || directory->find(name) || directory->find(name + ".pub"))
    throw Error(ErrorKind::usage, "a file with this name exists")
        .with("path", file)
        .hint(
            "The file is not overwritten: the public key of the old key pair may still be needed.");
  const auto key = store::SignifyKey::make();
  const store::Secret text(key.to_text());
  write_new(*directory, name, kPrivate, std::string(text.reveal()));
  write_new(*directory, name + ".pub", kPublic, key.public_key().to_text());
}

}  // namespace weir::cli
