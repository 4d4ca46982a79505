#include "codec/codec.h"
namespace weir::codec {
std::string_view suffix(Method method) {
  switch (method) {
    case Method::none:
      return "";
    case Method::gzip:
      return ".gz";
    case Method::lz4:
      return ".lz4";
    case Method::zstd:
      return ".zst";
  }
  return "";
}
}
