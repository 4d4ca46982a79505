# For arm64, built on another machine: Debian's cross compiler (g++-aarch64-linux-gnu) and the libraries that
# scripts/sysroot unpacks. PGWEIR_SYSROOT in the environment names them if they are not in build/sysroot/arm64.
#
#   scripts/sysroot arm64
#   cmake --preset arm64 && cmake --build --preset arm64
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CXX_COMPILER_TARGET aarch64-linux-gnu)
if(DEFINED ENV{PGWEIR_SYSROOT})
  set(CMAKE_SYSROOT $ENV{PGWEIR_SYSROOT})
else()
  get_filename_component(CMAKE_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../build/sysroot/arm64 ABSOLUTE)
endif()
if(NOT EXISTS ${CMAKE_SYSROOT})
  message(FATAL_ERROR "${CMAKE_SYSROOT} is not there: run scripts/sysroot arm64")
endif()

# Programs are this machine's, all that is linked and included is the other's.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(PKG_CONFIG_EXECUTABLE pkg-config CACHE FILEPATH "" FORCE)
set(ENV{PKG_CONFIG_DIR} "")
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${CMAKE_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${CMAKE_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig)

# Tests are run by it. With -L a program finds its loader and libraries there.
find_program(PGWEIR_QEMU qemu-aarch64-static qemu-aarch64 NO_CMAKE_FIND_ROOT_PATH)
if(PGWEIR_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${PGWEIR_QEMU};-L;${CMAKE_SYSROOT})
endif()
